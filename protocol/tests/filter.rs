//! Topic filters against a second, naive formulation of the same rules.

use proptest::prelude::*;
use vigia_protocol::filter::{Filter, TopicError, check_topic};

/// MQTT's rules for wildcards, looked at character by character.
fn naive_parse(text: &str) -> bool {
    let all: Vec<char> = text.chars().collect();
    !all.is_empty()
        && all.iter().enumerate().all(|(index, character)| {
            let begins = index == 0 || all[index - 1] == '/';
            let next = all.get(index + 1);
            match character {
                '#' => begins && next.is_none(),
                '+' => begins && next.is_none_or(|next| *next == '/'),
                '\0' => false,
                _ => true,
            }
        })
}

/// MQTT's rules for matching, as a recursion over levels.
fn naive_matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                (*wanted == "+" || wanted == level) && levels(filter, topic)
            }
            _ => false,
        }
    }
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    let hidden = topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
    !hidden && levels(&filter, &topic)
}

/// Few different levels, so that filters and topics meet.
fn level() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "$s"]).prop_map(str::to_owned)
}

fn topic() -> impl Strategy<Value = String> {
    let joined = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    joined.prop_filter("not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = Filter> {
    let levels = prop::collection::vec(prop_oneof![3 => level(), 2 => Just("+".to_owned())], 0..5);
    (levels, any::<bool>()).prop_filter_map("not empty", |(mut levels, rest)| {
        if rest {
            levels.push("#".to_owned());
        }
        Filter::parse(&levels.join("/")).ok()
    })
}

/// Topics that a filter matches, among them one that only a filter as wide as this one matches.
fn examples(filter: &Filter) -> Vec<String> {
    let shown = filter.as_str().replace('+', "other");
    match shown.strip_suffix('#') {
        None => vec![shown],
        Some(stem) => {
            let parent = stem.strip_suffix('/').unwrap_or(stem).to_owned();
            let children = (1..6).map(|depth| format!("{stem}{}", vec!["other"; depth].join("/")));
            let all = children.chain([parent]).filter(|topic| !topic.is_empty());
            all.collect()
        }
    }
}

proptest! {
    #[test]
    fn parse_accepts_what_the_rules_allow(text in "[+#/a$\0]{0,8}") {
        prop_assert_eq!(Filter::parse(&text).is_ok(), naive_parse(&text));
        let plain = naive_parse(&text) && !text.contains(['+', '#']);
        prop_assert_eq!(check_topic(&text).is_ok(), plain);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(filter.as_str(), &text),
            Err(TopicError::Length(length)) => prop_assert_eq!(length, text.len()),
            Err(_) => {}
        }
    }

    #[test]
    fn matching_follows_the_rules(filter in filter(), topic in topic()) {
        prop_assert_eq!(filter.matches(&topic), naive_matches(filter.as_str(), &topic));
    }

    #[test]
    fn an_intersection_matches_what_both_match(a in filter(), b in filter(), topic in topic()) {
        let both = a.matches(&topic) && b.matches(&topic);
        let common = a.intersection(&b);
        prop_assert_eq!(common.as_ref().is_some_and(|common| common.matches(&topic)), both);
        if let Some(common) = common {
            prop_assert!(Filter::parse(common.as_str()).is_ok());
            prop_assert!(a.covers(&common) && b.covers(&common));
        }
    }

    #[test]
    fn a_filter_covers_another_if_it_matches_all_of_its_topics(
        a in filter(), b in filter(), topic in topic()
    ) {
        if a.covers(&b) {
            prop_assert!(a.matches(&topic) || !b.matches(&topic));
        }
        let examples = examples(&b);
        prop_assert!(examples.iter().all(|example| b.matches(example)));
        prop_assert_eq!(a.covers(&b), examples.iter().all(|example| a.matches(example)));
    }
}

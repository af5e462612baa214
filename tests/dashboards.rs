//! The dashboards of `grafana/` by themselves: complete, consistent, and leading where they say.

#[allow(dead_code)]
mod grafana;

use std::collections::BTreeSet;
use std::fs;

use grafana::{dashboards, list, queries, text};
use serde_json::Value;

/// Calls `each` for every object in the value.
fn objects<'a>(value: &'a Value, each: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            each(object);
            object.values().for_each(|value| objects(value, each));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(value, each)),
        _ => {}
    }
}

#[test]
fn there_is_one_for_each_part_of_the_plant() {
    let boards = dashboards();
    let unique = |place: &str| {
        boards.iter().map(|(_, board)| text(board, place).to_owned()).collect::<BTreeSet<_>>()
    };
    let uids =
        ["alarms", "broker", "pipeline", "plant", "sensor"].map(|name| format!("vigia-{name}"));
    assert_eq!(unique("/uid"), uids.into());
    assert_eq!(unique("/title").len(), boards.len());
    assert_eq!(unique("/description").len(), boards.len());
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for (file, board) in dashboards() {
        let panels = list(&board, "/panels");
        let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        let titles: BTreeSet<&str> = panels.iter().map(|panel| text(panel, "/title")).collect();
        assert_eq!((ids.len(), titles.len()), (panels.len(), panels.len()), "{file}");
        for panel in panels {
            let place = format!("{file}, {}", text(panel, "/title"));
            assert!(text(panel, "/description").ends_with('.'), "{place}");
            assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{place}");
            assert!(!list(panel, "/fieldConfig/defaults/thresholds/steps").is_empty(), "{place}");
            assert!(!list(panel, "/targets").is_empty(), "{place}");
            let position = |key: &str| panel["gridPos"][key].as_i64().unwrap();
            assert!(position("x") + position("w") <= 24, "{place}");
        }
        for (at, panel) in panels.iter().enumerate() {
            for other in &panels[..at] {
                assert!(
                    !overlap(&panel["gridPos"], &other["gridPos"]),
                    "{file}: {}",
                    panel["title"]
                );
            }
        }
    }
}

fn overlap(one: &Value, other: &Value) -> bool {
    let within = |at: &str, length: &str| {
        let range = |grid: &Value| (grid[at].as_i64().unwrap(), grid[length].as_i64().unwrap());
        let ((a, long), (b, wide)) = (range(one), range(other));
        a < b + wide && b < a + long
    };
    within("x", "w") && within("y", "h")
}

#[test]
fn every_source_of_data_is_the_one_that_is_chosen() {
    for (file, board) in dashboards() {
        let variables = list(&board, "/templating/list");
        assert_eq!(text(&variables[0], "/name"), "datasource", "{file}");
        assert_eq!(text(&variables[0], "/type"), "datasource", "{file}");
        let mut seen = 0;
        objects(&board, &mut |object| {
            if let Some(source) =
                object.get("datasource").filter(|_| object.get("builtIn").is_none())
            {
                assert_eq!(source["uid"], "${datasource}", "{file}: {source}");
                assert_eq!(source["type"], "prometheus", "{file}: {source}");
                seen += 1;
            }
        });
        assert!(seen > list(&board, "/panels").len(), "{file}");
    }
}

#[test]
fn every_variable_that_is_used_is_there_and_every_one_that_is_there_is_used() {
    for (file, board) in dashboards() {
        let names = |value: &Value| text(value, "/name").to_owned();
        let defined: BTreeSet<String> =
            list(&board, "/templating/list").iter().map(names).collect();
        let all = board.to_string();
        for name in &defined {
            let used = [format!("${name}"), format!("${{{name}}}")];
            assert!(used.iter().any(|used| all.contains(used)), "{file}: {name} is not used");
        }
        for asked in queries().iter().filter(|asked| asked.place.starts_with(&file)) {
            for used in asked.expr.split('$').skip(1) {
                let end = used.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                let name = &used[..end.unwrap_or(used.len())];
                let known = name.starts_with("__") || defined.contains(name);
                assert!(known, "{}: ${name} is not defined", asked.place);
            }
        }
    }
}

#[test]
fn every_link_leads_to_a_dashboard_and_each_dashboard_to_all_others() {
    let boards = dashboards();
    let uids: BTreeSet<&str> = boards.iter().map(|(_, board)| text(board, "/uid")).collect();
    for (file, board) in &boards {
        objects(board, &mut |object| {
            if let Some(url) = object.get("url").and_then(Value::as_str) {
                let rest = url.strip_prefix("/d/").unwrap_or_else(|| panic!("{file}: {url}"));
                let uid = rest.split('?').next().unwrap();
                assert!(uids.contains(uid), "{file}: {url}");
            }
        });
        let linked: BTreeSet<String> =
            list(board, "/links").iter().map(|link| text(link, "/url").to_owned()).collect();
        let others = uids.iter().filter(|uid| **uid != text(board, "/uid"));
        assert_eq!(linked, others.map(|uid| format!("/d/{uid}")).collect(), "{file}");
    }
}

#[test]
fn alarms_and_gaps_are_marked_on_every_dashboard() {
    for (file, board) in dashboards() {
        let names: BTreeSet<&str> =
            list(&board, "/annotations/list").iter().map(|one| text(one, "/name")).collect();
        assert!(names.contains("Alarms") && names.contains("Gaps"), "{file}");
    }
}

#[test]
fn every_rule_says_how_bad_it_is_and_what_to_do() {
    let rules = fs::read_to_string(grafana::path("rules.yml")).unwrap();
    let count = |part: &str| rules.matches(part).count();
    let alerts = count("- alert: Vigia");
    assert!(alerts >= 6);
    for part in
        ["labels: {severity: ", "summary: ", "description: ", "runbook: docs/OPERATIONS.md#"]
    {
        assert_eq!(count(part), alerts, "{part}");
    }
    let operations = fs::read_to_string(grafana::path("../docs/OPERATIONS.md")).unwrap();
    for line in rules.lines().filter_map(|line| line.split_once("OPERATIONS.md#")) {
        let heading = line.1.replace('-', " ");
        let found = operations.lines().any(|line| {
            line.strip_prefix("## ").is_some_and(|title| title.to_lowercase() == heading)
        });
        assert!(found, "{heading}");
    }
}

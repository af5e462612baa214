//! Times as people write them: `500ms`, `30s`, `5m`, `2h`, `90d`.

use std::time::Duration;

/// Reads one.
///
/// # Errors
/// What is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 500ms, 30s, 5m, 2h or 90d".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_nothing_else() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse("90d"), Ok(Duration::from_secs(90 * 86_400)));
        for wrong in ["", "30", "s", "-1s", "1w", "1 s", "1.2.3s", "99999999999999999999h"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

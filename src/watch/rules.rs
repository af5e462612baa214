//! Which limits are watched: those of a file, or the plausible ranges of what a sensor measures.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use vigia_kit::config::{Alert, ConfigError, Limit};
use vigia_protocol::header::SensorId;

use super::plant::Quantity;

/// `[alert]` of a file. Its other sections are the roles', so that a site's vigia.toml will do.
#[derive(Deserialize)]
struct File {
    alert: Alert,
}

/// The limits in this file.
///
/// # Errors
/// A file that cannot be read, without limits, or with one that makes no sense.
pub fn load(path: &Path) -> Result<Vec<Limit>, ConfigError> {
    let bad = |problem: &str| {
        let problem = problem.trim().replace('\n', "; ");
        ConfigError(format!("{}: {problem}, expected [[alert.limits]]", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    let File { alert } = toml::from_str(&text).map_err(|error| bad(error.message()))?;
    if alert.limits.is_empty() {
        return Err(bad("there is no limit in it"));
    }
    for limit in &alert.limits {
        limit.check().map_err(|error| ConfigError(format!("{}, {error}", path.display())))?;
    }
    Ok(alert.limits)
}

/// The plausible ranges of what this sensor measures.
pub fn plausible(sensor: SensorId, quantities: &[Quantity]) -> Vec<Limit> {
    let limited = quantities.iter().filter(|one| one.min.is_some() || one.max.is_some());
    limited
        .map(|quantity| Limit {
            name: "plausible".to_owned(),
            sensor: Some(sensor),
            quantity: quantity.name.clone(),
            high: quantity.max,
            low: quantity.min,
            hysteresis: 0.0,
        })
        .collect()
}

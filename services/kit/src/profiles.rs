//! Profiles that are declared while a role runs: a sensor may be added with one at any time.

use vigia_protocol::profile::{Profile, Profiles};

use crate::config::ConfigError;
use crate::site::Site;

/// The profile of this name: of those `known`, or else of those that the site's configuration has by now.
///
/// # Errors
/// A configuration that cannot be used, or has no such profile.
pub fn declared<'a>(
    site: &Site,
    known: &'a mut Profiles,
    name: &str,
) -> Result<&'a Profile, ConfigError> {
    if known.get(name).is_none() {
        *known = Site::open(site.dir())?.config.profiles()?;
    }
    known.get(name).ok_or_else(|| ConfigError(format!("the profile {name:?} is not declared")))
}

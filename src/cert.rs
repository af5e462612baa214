//! The site's certificates: what makes them, and what stands in them.

pub mod authority;
pub mod certificate;

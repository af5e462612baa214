//! vigia-verify

//! vigia-alert

//! vigia-broker

//! vigia-kit

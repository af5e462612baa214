//! vigia-transform

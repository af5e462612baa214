//! vigia-disk

//! vigia-store

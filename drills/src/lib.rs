//! vigia-drills

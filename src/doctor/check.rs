//! One thing that was looked at.

use serde::Serialize;

use crate::colour::{Colour, Colours};

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but somebody should look at it; or nobody can tell.
    Warn,
    /// Does not work, or is dangerous.
    Fail,
}

/// What was looked at, what was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), todo: None }
    }

    /// Somebody should look at it.
    pub fn warn(
        check: impl Into<String>,
        found: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warn, todo: Some(todo.into()), ..Self::ok(check, found) }
    }

    /// It does not work.
    pub fn fail(
        check: impl Into<String>,
        found: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Fail, todo: Some(todo.into()), ..Self::ok(check, found) }
    }

    /// One line, without its end.
    pub fn line(&self, colours: Colours) -> String {
        let (colour, word) = match self.verdict {
            Verdict::Ok => (Colour::Green, "ok  "),
            Verdict::Warn => (Colour::Yellow, "warn"),
            Verdict::Fail => (Colour::Red, "fail"),
        };
        let todo = self.todo.as_ref().map_or(String::new(), |todo| format!("; {todo}"));
        format!("{}  {:<24}  {}{todo}", colours.paint(colour, word), self.check, self.found)
    }
}

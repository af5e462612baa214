//! How long a connection may take: for a request, until it is answered; for an answer, until some of it
//! is taken. Between the two it may be silent for longer, which the server looks after.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{HTTP_ANSWERED_WITHIN, HTTP_TAKEN_WITHIN};

/// The deadline of one connection.
#[derive(Debug)]
pub struct Patience {
    waits_for: Option<Wait>,
    end: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The whole request, and the beginning of its answer.
    Request,
    /// The client, to take what is written.
    Taking,
}

impl Patience {
    /// The first request is waited for from now on.
    pub fn new() -> Self {
        let end = Box::pin(sleep_until(Instant::now() + HTTP_ANSWERED_WITHIN));
        Self { waits_for: Some(Wait::Request), end }
    }

    /// Bytes came: a request begins, unless one has begun.
    pub fn heard(&mut self) {
        if self.waits_for.is_none() {
            self.wait(Wait::Request);
        }
    }

    /// Some of an answer was taken.
    pub fn written(&mut self) {
        self.waits_for = None;
    }

    /// The client does not take what is written.
    pub fn blocked(&mut self) {
        if self.waits_for != Some(Wait::Taking) {
            self.wait(Wait::Taking);
        }
    }

    fn wait(&mut self, what: Wait) {
        let within = match what {
            Wait::Request => HTTP_ANSWERED_WITHIN,
            Wait::Taking => HTTP_TAKEN_WITHIN,
        };
        self.waits_for = Some(what);
        self.end.as_mut().reset(Instant::now() + within);
    }

    /// Wakes the task when the deadline has come.
    ///
    /// # Errors
    /// It has come.
    pub fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.waits_for.is_none() {
            return Ok(());
        }
        match self.end.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

//! Waiting is asking again until a deadline.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
///
/// # Errors
/// What a question ends with; or, after the deadline, that `what` did not come.
pub async fn until<T>(
    within: Duration,
    what: impl FnOnce() -> String,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if begun.elapsed() >= within {
            bail!("waited {:.0} s in vain until {}", within.as_secs_f64(), what());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

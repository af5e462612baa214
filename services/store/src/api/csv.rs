//! Readings as comma-separated values (RFC 4180), read from the store as they are taken by who asked.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::Profile;

use crate::api::Shared;
use crate::api::problem::Problem;
use crate::api::reading::{Reading, Values};
use crate::limits::PAGE_READINGS;
use crate::query::Span;

/// The lines of a sensor's readings, a page of the store at a time. A quantity that any of its profiles
/// ever had is a column; what a reading has not, or has no number for, is empty.
///
/// # Errors
/// A store that cannot be read. Later, that cuts the answer short, which the client sees.
pub async fn lines(
    shared: Arc<Shared>,
    sensor: SensorId,
    span: Span,
    after: Option<Place>,
) -> Result<impl Stream<Item = Result<String, io::Error>> + Send + use<>, Problem> {
    let profiles = shared.query(Some(sensor), move |snapshot| snapshot.profiles_of(sensor)).await?;
    let columns = columns(profiles.iter().map(AsRef::as_ref));
    let head = std::iter::once("sensor,stream,seq,time,received,quality,flags".to_owned())
        .chain(columns.iter().map(|column| field(column)))
        .collect::<Vec<_>>()
        .join(",");
    let begin = Some((Some(head + "\r\n"), after));
    let lines = stream::unfold(begin, move |state| {
        let (shared, columns) = (shared.clone(), columns.clone());
        async move {
            let (head, after) = state?;
            let page = shared.query(Some(sensor), move |snapshot| {
                let page = snapshot.readings(sensor, span, after, PAGE_READINGS.1 as usize)?;
                let mut text = head.unwrap_or_default();
                for reading in &page.items {
                    line(&mut text, sensor, &Reading::from(reading), &columns);
                }
                Ok((text, page.next))
            });
            match page.await {
                Ok((text, next)) => Some((Ok(text), next.map(|next| (None, Some(next))))),
                Err(_) => Some((Err(io::Error::other("the store cannot be read")), None)),
            }
        }
    });
    Ok(lines)
}

fn columns<'a>(profiles: impl Iterator<Item = &'a Profile>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for quantity in profiles.flat_map(Profile::quantities) {
        if !columns.contains(&quantity.name) {
            columns.push(quantity.name.clone());
        }
    }
    columns
}

fn line(out: &mut String, sensor: SensorId, reading: &Reading, columns: &[String]) {
    let Reading { stream, seq, time, received, quality, flags, values: Values(values), .. } =
        reading;
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "{sensor},{stream},{seq},{},{},{quality},{}",
        time.0,
        received.0,
        flags.join(" ")
    );
    for column in columns {
        let value = values.iter().find(|(name, _)| name == column).and_then(|(_, value)| *value);
        let _ = match value {
            Some(value) => write!(out, ",{value}"),
            None => write!(out, ","),
        };
    }
    out.push_str("\r\n");
}

/// A text as a field: in quotes if it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

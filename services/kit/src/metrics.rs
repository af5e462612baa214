//! `/metrics`: a role's numbers, as Prometheus reads them.
//!
//! Names begin with `vigia_` and end in their unit: `_seconds`, `_bytes`, and `_total` for what only grows.

use std::fmt::{Display, Write};
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use poem::endpoint::make;
use poem::{EndpointExt, IntoResponse, Route, get};
use tokio::net::TcpListener;
use vigia_protocol::time::Micros;

use crate::http;
use crate::shutdown::Shutdown;
use crate::site::{Role, Site};

/// The text format's content type, with its version.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Listens where the configuration says that the role's numbers are read.
///
/// # Errors
/// An address that cannot be listened on, in one sentence.
pub async fn listen(site: &Site, role: Role) -> io::Result<TcpListener> {
    let address = site.config.metrics_of(role);
    LazyLock::force(&STARTED);
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| {
        let sentence = format!("cannot listen for Prometheus on {address}: {error}");
        io::Error::new(error.kind(), sentence)
    })?;
    let name = match role {
        Role::Broker => "metrics".to_owned(),
        role => format!("metrics-{}", role.name()),
    };
    site.publish_addresses(&[(&name, listener.local_addr()?)])?;
    Ok(listener)
}

/// Answers `GET /metrics` with what `page` makes, until the end. It may block: it has a thread of its own.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(
    listener: TcpListener,
    page: impl Fn() -> Page + Send + Sync + 'static,
    shutdown: Shutdown,
) -> io::Result<()> {
    let page = Arc::new(page);
    let metrics = make(move |_| {
        let page = Arc::clone(&page);
        async move {
            let made = tokio::task::spawn_blocking(move || page()).await;
            let page = made.map_err(poem::error::InternalServerError)?;
            let answer = page.0.with_content_type(CONTENT_TYPE).into_response();
            Ok::<poem::Response, poem::Error>(answer)
        }
    });
    http::serve(listener, None, Route::new().at("/metrics", get(metrics.boxed())), shutdown).await
}

/// A page in Prometheus's text format.
#[derive(Debug, Default)]
pub struct Page(String);

/// A moment as metrics have it: seconds since 1970.
pub fn seconds(time: Micros) -> f64 {
    time.0 as f64 / 1e6
}

impl Page {
    /// With what every role says of itself.
    pub fn of(role: Role) -> Self {
        let mut page = Self::default();
        page.gauge("vigia_build_info", "Which program this is.")
            .labelled(&[("role", role.name()), ("version", env!("CARGO_PKG_VERSION"))], 1);
        page.gauge("vigia_uptime_seconds", "Time since the process started.")
            .is(STARTED.elapsed().as_secs());
        page
    }

    /// A number that only grows; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) -> Family<'_> {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { page: &mut self.0, name: name.to_owned() }
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut String,
    name: String,
}

impl Family<'_> {
    /// A sample without labels.
    pub fn is(&mut self, value: impl Display) {
        let _ = writeln!(self.page, "{} {value}", self.name);
    }

    /// A sample with one label.
    pub fn with(&mut self, label: &str, of: &str, value: impl Display) -> &mut Self {
        self.labelled(&[(label, of)], value)
    }

    /// A sample with several labels.
    pub fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, of)| {
                let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{label}=\"{of}\"")
            })
            .collect();
        let _ = writeln!(self.page, "{}{{{}}} {value}", self.name, labels.join(","));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_prometheus_text() {
        let mut page = Page::default();
        page.counter("a_total", "What a is.").with("user", "x\"y\\", 3).with("user", "z", 4);
        page.gauge("b", "What b is.").is(1.5);
        page.gauge("c", "What c is.").labelled(&[("x", "1"), ("y", "2")], 5);
        let expected = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{user=\"x\\\"y\\\\\"} 3\n\
                        a_total{user=\"z\"} 4\n# HELP b What b is.\n# TYPE b gauge\nb 1.5\n\
                        # HELP c What c is.\n# TYPE c gauge\nc{x=\"1\",y=\"2\"} 5\n";
        assert_eq!(page.0, expected);
    }
}

//! `/metrics`: a role's numbers, as Prometheus reads them.

mod brief;

use std::fmt::{Display, Write};
use std::sync::Arc;

use poem::endpoint::make_sync;
use poem::{EndpointExt, IntoResponse, Route, Server, get};
use tokio::net::TcpListener;

use self::brief::Door;
use crate::shutdown::Shutdown;

/// The text format's content type, with its version.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers `GET /metrics` with what `page` makes, until the end.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(
    listener: TcpListener,
    page: impl Fn() -> Page + Send + Sync + 'static,
    mut shutdown: Shutdown,
) -> std::io::Result<()> {
    let page = Arc::new(page);
    let metrics = make_sync(move |_| page().0.with_content_type(CONTENT_TYPE).into_response());
    let app = Route::new().at("/metrics", get(metrics.boxed()));
    Server::new_with_acceptor(Door::new(listener)?)
        .run_with_graceful_shutdown(app, async move { shutdown.ended().await }, None)
        .await
}

/// A page in Prometheus's text format.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
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
        let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(self.page, "{}{{{label}=\"{of}\"}} {value}", self.name);
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
        let expected = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{user=\"x\\\"y\\\\\"} 3\n\
                        a_total{user=\"z\"} 4\n# HELP b What b is.\n# TYPE b gauge\nb 1.5\n";
        assert_eq!(page.0, expected);
    }
}

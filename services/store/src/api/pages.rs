//! Pages that never change while the process lives: the live page and what it is made of.

use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, Response, Route};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The live page, its scripts and its style.
const LIVE: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("../../page/index.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("../../page/page.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
    ("/page/page.js", SCRIPT, include_str!("../../page/page.js")),
    ("/page/api.js", SCRIPT, include_str!("../../page/api.js")),
    ("/page/chart.js", SCRIPT, include_str!("../../page/chart.js")),
    ("/page/echarts.js", SCRIPT, include_str!(concat!(env!("OUT_DIR"), "/echarts.js"))),
];

/// What the live page may do: run its own scripts, and ask its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The live page at `/`.
pub fn live(route: Route) -> Route {
    LIVE.into_iter().fold(route, |route, (path, content_type, text)| {
        route.at(path, answer(content_type, text.as_bytes(), Some(POLICY)))
    })
}

/// Answers with the same text every time, without copying it.
pub fn fixed(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> {
    answer(content_type, Box::leak(text.into_bytes().into_boxed_slice()), None)
}

fn answer(
    content_type: &'static str,
    text: &'static [u8],
    policy: Option<&'static str>,
) -> impl Endpoint<Output = Response> {
    make_sync(move |_| {
        let mut response = Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, "max-age=3600");
        if let Some(policy) = policy {
            response = response.header(header::CONTENT_SECURITY_POLICY, policy);
        }
        response.body(poem::Body::from_bytes(text.into()))
    })
}

//! Pages that never change while the process lives.

use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, Response};

/// The page at `/`.
pub const INDEX: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Vigia</title></head>
<body><h1>Vigia</h1>
<ul><li><a href="/docs">API (Swagger UI)</a></li>
<li><a href="/api/v1/ledger">Ledger</a></li>
<li><a href="/openapi.yaml">OpenAPI document</a></li></ul>
</body></html>
"#;

/// Answers with the same text every time, without copying it.
pub fn fixed(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> {
    let text: &'static [u8] = Box::leak(text.into_bytes().into_boxed_slice());
    make_sync(move |_| {
        Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, "max-age=3600")
            .body(poem::Body::from_bytes(text.into()))
    })
}

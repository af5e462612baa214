//! Errors as RFC 9457 has them: all of them, also those of the framework.

use std::time::Duration;

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};
use vigia_kit::tokens::Scope;

/// Their content type.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Details {
    /// What kind of problem it is: `about:blank` says that the status tells.
    #[oai(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
}

impl Details {
    fn new(status: StatusCode, detail: String) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
        }
    }
}

/// How operations fail.
#[derive(Debug, ApiResponse)]
pub enum Problem {
    /// A parameter is not what it should be.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Details>),
    /// No token, or one that opens nothing: unknown, revoked, expired.
    #[oai(status = 401, content_type = "application/problem+json")]
    Unauthorized(Json<Details>, #[oai(header = "WWW-Authenticate")] String),
    /// The token does not allow this.
    #[oai(status = 403, content_type = "application/problem+json")]
    Forbidden(Json<Details>),
    /// There is no such thing.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Details>),
    /// The body is too large.
    #[oai(status = 413, content_type = "application/problem+json")]
    TooLarge(Json<Details>),
    /// Too many requests; `Retry-After` says after how many seconds one is answered again.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooMany(Json<Details>, #[oai(header = "Retry-After")] u64),
    /// Something is broken inside.
    #[oai(status = 500, content_type = "application/problem+json")]
    Internal(Json<Details>),
    /// Not now.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(Json<Details>),
}

impl Problem {
    /// A parameter is not what it should be.
    pub fn bad_request(detail: String) -> Self {
        Self::BadRequest(Json(Details::new(StatusCode::BAD_REQUEST, detail)))
    }

    /// Always the same, so that nobody learns which tokens there are.
    pub fn unauthorized() -> Self {
        let detail = "expected the header 'Authorization: Bearer vgt_…' with a token that is valid; \
                      'vigia token add' makes one";
        let details = Details::new(StatusCode::UNAUTHORIZED, detail.to_owned());
        Self::Unauthorized(Json(details), "Bearer realm=\"vigia\"".to_owned())
    }

    /// The token does not allow this.
    pub fn forbidden(expected: Scope) -> Self {
        let detail = format!("expected a token with the scope {expected}");
        Self::Forbidden(Json(Details::new(StatusCode::FORBIDDEN, detail)))
    }

    /// The body is too large.
    pub fn too_large(detail: String) -> Self {
        Self::TooLarge(Json(Details::new(StatusCode::PAYLOAD_TOO_LARGE, detail)))
    }

    /// Too many requests, until after this time.
    pub fn too_many(wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil() as u64;
        let detail = format!("too many requests; one is answered again after {seconds} s");
        Self::TooMany(Json(Details::new(StatusCode::TOO_MANY_REQUESTS, detail)), seconds)
    }

    /// There is no such thing.
    pub fn not_found(detail: String) -> Self {
        Self::NotFound(Json(Details::new(StatusCode::NOT_FOUND, detail)))
    }

    /// Something is broken inside; what, is in the log.
    pub fn internal() -> Self {
        let detail = "an internal error; the store's log has more".to_owned();
        Self::Internal(Json(Details::new(StatusCode::INTERNAL_SERVER_ERROR, detail)))
    }

    /// Not now.
    pub fn busy(detail: String) -> Self {
        Self::Unavailable(Json(Details::new(StatusCode::SERVICE_UNAVAILABLE, detail)))
    }
}

/// Answers whatever the framework refuses.
pub async fn answer(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(%error, "a request failed");
        return poem::Error::from(Problem::internal()).into_response();
    }
    Json(Details::new(status, error.to_string()))
        .into_response()
        .with_status(status)
        .with_content_type(PROBLEM_JSON)
        .into_response()
}

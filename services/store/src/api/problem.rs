//! Errors as RFC 9457 has them: all of them, also those of the framework.

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};

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
    /// There is no such thing.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Details>),
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

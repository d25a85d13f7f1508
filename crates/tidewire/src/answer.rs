//! Answers: errors and JSON as HTTP responses. Statuses come from the one code table.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use tidewire_proto::{Code, WireError, json};

/// An error that is the answer to a request.
pub(crate) struct Refused(pub(crate) WireError);

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

impl Refused {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(WireError::new(code, message))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(error) = self;
        if matches!(error.code, Code::Internal | Code::LogFailed) {
            tracing::error!(code = %error.code, message = %error.message, "a request failed");
        }
        let mut body = String::from("{\"error\":");
        json::push_error(&mut body, &error);
        body.push('}');
        let status =
            StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(status, body);
        let headers = response.headers_mut();
        match error.code {
            Code::Busy
            | Code::DiskFull
            | Code::GateUnavailable
            | Code::LogFailed
            | Code::PresenceFull
            | Code::Restarting
            | Code::TooManyConnections => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Code::TokenMissing | Code::TokenInvalid | Code::TokenExpired => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Code::UpgradeRequired => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}

/// A JSON response that no cache keeps.
pub(crate) fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

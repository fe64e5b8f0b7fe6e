//! Who may use the API.
//!
//! On loopback every program of this machine may, but no web page: a browser says where a page is
//! from (`Origin`), and a page that had its own name point to 127.0.0.1 (DNS rebinding) is known
//! by that name (`Host`). With a token, whoever bears it may.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::BindError;
use super::error::ApiError;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 1_024;

/// What a request is held against.
pub(super) struct Guard {
    /// The hash of the token: comparing hashes tells nothing about the token by its timing.
    token: Option<blake3::Hash>,
    loopback: bool,
}

impl Guard {
    /// A guard that asks for `token`, if there is one.
    ///
    /// # Errors
    /// [`BindError::BadToken`].
    pub(super) fn new(token: Option<&str>, loopback: bool) -> Result<Self, BindError> {
        let good = |token: &str| {
            (1..=TOKEN_BYTES_MAX).contains(&token.len())
                && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if token.is_some_and(|token| !good(token)) {
            return Err(BindError::BadToken);
        }
        let token = token.map(|token| blake3::hash(token.as_bytes()));
        Ok(Self { token, loopback })
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let forbidden = |error: String| {
            let hint = "use the command line, or a client that is no web page";
            ApiError::new(StatusCode::FORBIDDEN, error, hint)
        };
        let text = |name: header::HeaderName| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let host = text(header::HOST).unwrap_or_default();
        if self.loopback && !is_loopback(&host) {
            return Err(forbidden(format!(
                "the host `{host}` is not this machine's loopback address"
            )));
        }
        if let Some(origin) = text(header::ORIGIN)
            && origin != format!("http://{host}")
        {
            return Err(forbidden(format!(
                "requests from pages of `{origin}` are refused"
            )));
        }
        let Some(expected) = self.token else {
            return Ok(());
        };
        let given = text(header::AUTHORIZATION).unwrap_or_default();
        let given = given.strip_prefix("Bearer ").unwrap_or_default();
        // Comparing hashes takes the same time whatever is in them.
        if blake3::hash(given.as_bytes()) == expected {
            return Ok(());
        }
        let error = if given.is_empty() {
            "the API asks for a token"
        } else {
            "the API token is wrong"
        };
        let hint = "give the daemon's with --api-token or LEVERET_API_TOKEN";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, error, hint))
    }
}

/// Whether the value of a `Host` header is a loopback address or `localhost`.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || [name, bare]
            .iter()
            .any(|text| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

/// Lets a request through, or answers it with the reason why not.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, headers: &[(header::HeaderName, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        match guard.admit(&map) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn loopback_is_for_programs_of_this_machine_and_not_for_web_pages() {
        let guard = Guard::new(None, true).unwrap();
        for host in [
            "127.0.0.1:7411",
            "localhost",
            "LocalHost:1",
            "[::1]:7411",
            "[::1]",
            "127.9.9.9",
        ] {
            assert_eq!(status(&guard, &[(header::HOST, host)]), 200, "{host}");
        }
        for host in [
            "evil.example:7411",
            "evil.example",
            "192.0.2.1:7411",
            "",
            "localhost.evil.example",
        ] {
            assert_eq!(status(&guard, &[(header::HOST, host)]), 403, "{host}");
        }
        let local = (header::HOST, "127.0.0.1:7411");
        let from = |origin| status(&guard, &[local.clone(), (header::ORIGIN, origin)]);
        assert_eq!(from("http://127.0.0.1:7411"), 200);
        assert_eq!(from("http://127.0.0.1:80"), 403);
        assert_eq!(from("https://evil.example"), 403);
        assert_eq!(from("null"), 403);
    }

    #[test]
    fn a_token_is_asked_for_wherever_there_is_one() {
        let guard = Guard::new(Some("secret"), false).unwrap();
        let host = (header::HOST, "db.example:7411");
        assert_eq!(status(&guard, std::slice::from_ref(&host)), 401);
        let with = |text| status(&guard, &[host.clone(), (header::AUTHORIZATION, text)]);
        assert_eq!(with("Bearer secret"), 200);
        assert_eq!(with("Bearer wrong"), 401);
        assert_eq!(with("secret"), 401);
        assert!(matches!(
            Guard::new(Some(""), true),
            Err(BindError::BadToken)
        ));
        assert!(matches!(
            Guard::new(Some("a b"), true),
            Err(BindError::BadToken)
        ));
    }
}

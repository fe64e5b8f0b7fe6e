//! Answers that are written while they are sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::ApiError;

/// Pieces of an answer that wait to be sent, at most.
const PIECES_MAX: usize = 16;

/// The writing end of an answer. An error breaks the answer off, so that its reader can tell.
pub(super) type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The content type of one JSON object a line.
pub(super) const LINES: &str = "application/x-ndjson";
/// The content type of one JSON text.
pub(super) const JSON: &str = "application/json";
/// The content type of text for people.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of lines: `next` gives one after the other, each when there is room for it, and
/// nothing after the last. `turn` is held until then.
pub(super) fn lines<T: Send + 'static>(
    turn: T,
    mut next: impl FnMut() -> Result<Option<Value>, ApiError> + Send + 'static,
) -> Response {
    let (pieces, response) = answer(LINES);
    tokio::task::spawn_blocking(move || {
        loop {
            let piece = match next() {
                Ok(Some(line)) => Ok(Bytes::from(format!("{line}\n"))),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(?error, "an answer was not sent whole");
                    Err(io::ErrorKind::Other.into()) // breaks it off
                }
            };
            let broken = piece.is_err();
            // If the reader has gone there is nobody to tell.
            if pieces.blocking_send(piece).is_err() || broken {
                break;
            }
        }
        drop(turn);
    });
    response
}

/// An answer of a content type, and the end where its pieces are put in.
pub(super) fn answer(content_type: &'static str) -> (Pieces, Response) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let body = Body::from_stream(Stream(receiver));
    let response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    (sender, response)
}

struct Stream(mpsc::Receiver<io::Result<Bytes>>);

impl futures_core::Stream for Stream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

//! Answers that are written while they are sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

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

/// An answer of lines that are all there.
pub(super) fn lines(text: String) -> Response {
    ([(header::CONTENT_TYPE, LINES)], text).into_response()
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

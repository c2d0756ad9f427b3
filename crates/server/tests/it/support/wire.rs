//! Server-sent events taken apart, and HTTP over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anser_server::{ServerError, ServerOptions, bind, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Service;

/// One event: its name, if it has one, and its data.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) event: Option<String>,
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// The events of a stream; comments are left out.
pub(crate) fn frames(text: &str) -> Vec<Frame> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty() && !block.starts_with(':'));
    blocks
        .map(|block| {
            let line = |start: &str| block.lines().find_map(|line| line.strip_prefix(start).map(str::to_owned));
            Frame { event: line("event: "), data: line("data: ").unwrap() }
        })
        .collect()
}

/// A service that listens on a free port of this machine.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    pub(crate) server: JoinHandle<Result<(), ServerError>>,
}

impl Listening {
    pub(crate) async fn start(service: &Service, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options =
            ServerOptions { listen: address, request_timeout: Duration::from_mins(1), ..ServerOptions::default() };
        change(&mut options);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, Arc::clone(&service.engine), options, async {
            let _ = stopped.await;
        }));
        Self { address, stop, server }
    }

    /// Sends a request with a JSON body and returns the open connection.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        socket
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        read_all(&mut socket).await
    }

    /// Begins the shutdown and hands over the server.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ServerError>> {
        self.stop.send(()).unwrap();
        self.server
    }
}

/// Everything until the connection ends.
pub(crate) async fn read_all(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `text` has come.
pub(crate) async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 1024];
    while !read.contains(text) {
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the connection ended before \"{text}\" came: {read}");
        read.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    read
}

//! An RPC endpoint that is not what it seems: between the sidecar and the node, one question at a
//! time, and what it does to the answers can be changed while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a question.
pub(crate) enum Reply {
    /// This is the whole answer; the node's is `{"jsonrpc": .., "id": .., "result": ..}`.
    Answer(Value),
    /// Silence, on an open connection.
    Hang,
}

type Manner = dyn Fn(&str, &Value, Value) -> Reply + Send + Sync;

/// The endpoint. It ends with the value.
pub(crate) struct Proxy {
    port: u16,
    manner: Arc<Mutex<Arc<Manner>>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Honest, until told otherwise.
    pub(crate) async fn to(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let honest: Arc<Manner> = Arc::new(|_, _, answer| Reply::Answer(answer));
        let manner = Arc::new(Mutex::new(honest));
        let asked = Arc::default();
        let (m, a) = (Arc::clone(&manner), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, node, Arc::clone(&m), Arc::clone(&a)));
            }
        });
        Self { port, manner, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on: method, parameters and the node's answer make the reply.
    pub(crate) fn behave(
        &self,
        manner: impl Fn(&str, &Value, Value) -> Reply + Send + Sync + 'static,
    ) {
        *self.manner.lock().unwrap() = Arc::new(manner);
    }

    pub(crate) fn be_honest(&self) {
        self.behave(|_, _, answer| Reply::Answer(answer));
    }

    /// How often a method was asked for.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|m| *m == method).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    node: u16,
    manner: Arc<Mutex<Arc<Manner>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let Some(body) = read_body(&mut stream).await else { return };
    let question: Value = serde_json::from_slice(&body).expect("alloy sends JSON");
    let method = question["method"].as_str().expect("with a method").to_owned();
    asked.lock().unwrap().push(method.clone());
    let Some(answer) = ask(node, &body).await else { return };
    let manner = Arc::clone(&manner.lock().unwrap());
    match manner(&method, &question["params"], answer) {
        Reply::Hang => tokio::time::sleep(Duration::from_secs(600)).await,
        Reply::Answer(answer) => {
            let answer = answer.to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            drop(stream.write_all(text.as_bytes()).await);
        }
    }
}

async fn ask(node: u16, body: &[u8]) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", node)).await.ok()?;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    let head = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    serde_json::from_str(&text[text.find('{')?..=text.rfind('}')?]).ok()
}

async fn read_body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize =
            head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
        if bytes.len() >= end + 4 + length {
            return Some(bytes[end + 4..].to_vec());
        }
    }
}

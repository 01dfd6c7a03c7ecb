//! The sidecar's way to the node: everything but a socket. Each request and each answer is a step
//! at which the sidecar can die.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{
    ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use serde_json::Value;
use serde_json::value::to_raw_value;
use weir_settle::chain::rpc::Rpc;

use crate::node::{Mood, Node};
use crate::points::{Points, Reached};

/// How long the sidecar waits for an answer. In virtual time.
const PATIENCE: Duration = Duration::from_secs(2);
/// The endpoint that lies.
const LIAR: usize = 2;
/// One word of a contract's answer, in hexadecimal.
const WORD_CHARS: usize = 66;
/// Three words: the record of an exit's challenges.
const RECORD_CHARS: usize = 194;
/// The time that an answer takes.
const LATENCY: Duration = Duration::from_millis(1);

/// A transport of alloy's that ends in a [`Node`].
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    node: Arc<Mutex<Node>>,
    points: Points,
    index: usize,
}

impl Wire {
    /// An endpoint of this node: the first has its moods, the second none, the third lies.
    pub(crate) fn rpc(node: Arc<Mutex<Node>>, points: Points, index: usize) -> Rpc {
        let wire = Self { node, points, index };
        Rpc::over(RpcClient::new(wire, true), &format!("model {index}"), PATIENCE)
    }

    async fn handle(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        match packet {
            RequestPacket::Single(request) => Ok(ResponsePacket::Single(self.one(&request).await?)),
            RequestPacket::Batch(requests) => {
                let mut answers = Vec::new();
                for request in &requests {
                    answers.push(self.one(request).await?);
                }
                Ok(ResponsePacket::Batch(answers))
            }
        }
    }

    async fn one(&self, request: &SerializedRequest) -> Result<Response, TransportError> {
        let method = request.method();
        self.step("asks", method).await;
        tokio::time::sleep(LATENCY).await;
        let params: Value = match request.params() {
            Some(raw) => serde_json::from_str(raw.get()).map_err(TransportErrorKind::custom)?,
            None => Value::Null,
        };
        let answer = {
            let mut node = self.node.lock().expect("no holder of this lock panics");
            let mood = node.mood;
            if self.index > 0 {
                node.mood = Mood::Well;
            }
            let answer = match node.mood {
                // A node that hangs may have done what it was asked for.
                Mood::Hangs => {
                    drop(node.answer(method, &params));
                    None
                }
                Mood::Errors => {
                    return Err(TransportErrorKind::custom_str("502 bad gateway"));
                }
                _ => Some(node.answer(method, &params)),
            };
            node.mood = mood;
            answer
        };
        let Some(answer) = answer else { return std::future::pending().await };
        let answer = if self.index == LIAR { lie(method, answer) } else { answer };
        self.step("told", method).await;
        let payload = match answer {
            Ok(value) => {
                ResponsePayload::Success(to_raw_value(&value).map_err(TransportErrorKind::custom)?)
            }
            Err(message) => ResponsePayload::Failure(ErrorPayload {
                code: -32000,
                message: message.into(),
                data: None,
            }),
        };
        Ok(Response { id: request.id().clone(), payload })
    }

    /// A dead process asks nothing and hears nothing.
    async fn step(&self, verb: &str, method: &str) {
        let name = [format!("{verb} {method}")];
        if self.points.reach(&name, false) != Reached::Go {
            std::future::pending::<()>().await;
        }
    }
}

/// The opposite of the truth, where the truth is about money.
fn lie(method: &str, answer: Result<Value, String>) -> Result<Value, String> {
    match (method, answer) {
        // Everything is claimed already, and by far.
        ("eth_call", Ok(Value::String(word))) if word.len() == WORD_CHARS => {
            Ok(format!("0x{:0>64}", "ffffffffff").into())
        }
        // Nobody challenges.
        ("eth_call", Ok(Value::String(words))) if words.len() == RECORD_CHARS => {
            Ok(format!("0x{:0>192}", "").into())
        }
        ("eth_getTransactionReceipt", Ok(_)) => Ok(Value::Null),
        ("eth_getTransactionCount", Ok(_)) => Ok("0x77".into()),
        ("eth_estimateGas", _) => Err("execution reverted".into()),
        ("eth_sendRawTransaction", _) => Err("nonce too low".into()),
        (_, answer) => answer,
    }
}

impl tower::Service<RequestPacket> for Wire {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().handle(packet))
    }
}

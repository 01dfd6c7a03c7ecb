//! `POST /.well-known/weir/sample`: what a client signed of an interval, for the exit to sign too.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use weir_core::Grant;
use weir_usage::{ChannelId, SampleAck, SampleRefusal, SampleRefused, SignedSample};

use super::{Answer, Resources, error};

/// How long a client waits for the sidecar's signature: an fsync.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A sample on its way to the sidecar.
#[derive(Debug)]
pub(crate) struct SampleJob {
    pub channel: ChannelId,
    pub lane: u32,
    pub signed: SignedSample,
    pub answer: oneshot::Sender<Result<SampleAck, SampleRefused>>,
}

impl Resources {
    pub(super) async fn sample(&self, grant: &Grant, body: &[u8]) -> Answer {
        let (Some(channel), Some(ways)) = (grant.channel, &self.ways) else {
            return error(404, "this grant is not billed");
        };
        if !self.connected.load(Ordering::Acquire) {
            return error(503, "the settlement service is away");
        }
        let service =
            self.services.lock().expect("no holder of this lock panics").get(&channel).copied();
        let Some(service) = service else {
            return error(404, "no service level is agreed for this grant's channel");
        };
        let signed: SignedSample = match serde_json::from_slice(body) {
            Ok(signed) => signed,
            Err(reason) => return error(422, &reason.to_string()),
        };
        if signed.sample.sla != service || signed.sample.lane != grant.lane {
            return error(422, "the sample is for another agreement or lane than the credential");
        }
        let (answer, answered) = oneshot::channel();
        let job = SampleJob { channel: ChannelId(channel), lane: grant.lane, signed, answer };
        if ways.samples.try_send(job).is_err() {
            return error(503, "the settlement service is away");
        }
        match tokio::time::timeout(SAMPLE_TIMEOUT, answered).await {
            Ok(Ok(Ok(ack))) => {
                let body = json!({ "exit_signature": ack.exit_signature });
                Answer { status: 200, body: body.to_string().into_bytes() }
            }
            Ok(Ok(Err(refused))) if refused.refusal == SampleRefusal::Storage => {
                error(503, &refused.reason)
            }
            Ok(Ok(Err(refused))) => error(422, &refused.reason),
            Ok(Err(_)) | Err(_) => error(503, "the settlement service did not answer"),
        }
    }
}

//! Records journaled: over the relay's socket, written and synced before they are acked.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use weir_settle::clerk::Clerk;
use weir_settle::server::{self, ServerCounters};
use weir_settle::sidecar;
use weir_settle::storage::FileStorage;
use weir_usage::{Frame, FrameReader, Hello, RecordChain};

use crate::common::{EXIT, config, stamped};
use crate::{Measured, Watch};

const RECORDS: u64 = 200_000;
/// A record per tunnel and second is what a relay with so many tunnels sends.
pub(crate) const TUNNELS: u64 = 10_000;
/// The records, and the lane's price.
pub(crate) const ENTRIES: u64 = RECORDS + 1;

pub(crate) fn measure() -> Measured {
    fill(directory().path())
}

/// Beside the build, and so on a disk: /tmp may be memory, where a sync is free.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Writes `journal` in a folder; nobody has it open afterwards.
pub(crate) fn fill(directory: &Path) -> Measured {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(directory))
}

async fn run(directory: &Path) -> Measured {
    let config = config();
    let storage = FileStorage::open(&directory.join("journal")).expect("a journal");
    let (journal, book, _) = sidecar::open(&config, storage).expect("an empty journal");
    let (_stop, stopped) = watch::channel(false);
    let (clerk, handle) = Clerk::new(&config, journal, book, stopped.clone());
    let socket = directory.join("settle.sock");
    let listener = server::bind(&socket, 0o600).expect("a socket");
    let counters = Arc::new(ServerCounters::default());
    tokio::spawn(clerk.run());
    tokio::spawn(server::serve(listener, EXIT, handle.clone(), counters, stopped));

    let mut chain = RecordChain::new(EXIT, 1);
    let mut frames = Vec::new();
    for number in 0..RECORDS {
        let (tunnel, bytes) = ((number % TUNNELS).into(), number * 1_000);
        let record = stamped(&mut chain, 0, tunnel, bytes, bytes);
        frames.extend_from_slice(&Frame::Record(Box::new(record)).encode());
    }
    let stream = UnixStream::connect(&socket).await.expect("the sidecar listens");
    let (mut input, mut output) = stream.into_split();
    let hello = Frame::Hello(Hello { exit: EXIT, epoch: 1 }).encode();
    output.write_all(&hello).await.expect("the sidecar reads");

    let watch = Watch::start();
    let sender = tokio::spawn(async move { output.write_all(&frames).await.map(|()| output) });
    let acks = acked(&mut input).await;
    let (seconds, _) = watch.stop();
    drop(sender.await);

    let view = handle.view().await.expect("the clerk lives");
    assert_eq!(view.journal.entries, ENTRIES);
    let mut figures = Map::new();
    figures.insert("acks".into(), json!(acks));
    figures.insert("bytes_per_record".into(), json!(view.journal.bytes / RECORDS));
    Measured { units: RECORDS, seconds, cpu_ns: None, figures }
}

/// Returns when the last record is acked, with how many acks that took.
async fn acked(input: &mut (impl AsyncReadExt + Unpin)) -> u64 {
    let (mut frames, mut buffer, mut acks) = (FrameReader::new(), vec![0; 64 * 1024], 0);
    loop {
        while let Some(frame) = frames.next_frame().expect("frames of the sidecar are sound") {
            if let Frame::RecordAck { next_seq } = frame {
                acks += 1;
                if next_seq == RECORDS {
                    return acks;
                }
            }
        }
        let count = input.read(&mut buffer).await.expect("the sidecar answers");
        assert!(count > 0, "the sidecar hung up");
        frames.push(&buffer[..count]);
    }
}

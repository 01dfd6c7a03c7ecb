//! The two standard streams: lines in, events out.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, bail};
use weir_io::Waker;

use crate::spec::Event;

/// Lines of standard input, read by a thread that wakes the generator.
#[derive(Debug)]
pub(crate) struct Console {
    lines: Receiver<String>,
}

impl Console {
    pub(crate) fn open(waker: Waker) -> Console {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    return;
                }
                waker.wake();
            }
            drop(sender);
            waker.wake();
        });
        Console { lines }
    }

    /// Waits for a line.
    pub(crate) fn wait(&self) -> anyhow::Result<String> {
        self.lines.recv().context("standard input closed before a line came")
    }

    /// The next line if it is there. An error when standard input was closed: whoever asked for
    /// the run is gone, so the run ends.
    pub(crate) fn poll(&self) -> anyhow::Result<Option<String>> {
        match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("standard input was closed"),
        }
    }

    /// Prints an event.
    pub(crate) fn say(event: &Event) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
        out.flush().context("standard output")
    }
}

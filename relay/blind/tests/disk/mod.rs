//! A disk that fails where a test says. The tests of `weir-client`'s journal use it too.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::rc::Rc;

use weir_blind::spent::Disk;

/// What a failing step does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The step fails and did nothing.
    Error,
    /// The step fails after it did half of its work.
    Half,
    /// The power fails; what wasn't synced is lost, or kept in part.
    Crash { keep_permille: usize },
    /// The power fails just after the step.
    CrashAfter { keep_permille: usize },
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    content: Vec<u8>,
}

/// A disk as unkind as a real one may be: content and names become durable apart, and a failed sync
/// leaves behind what can be read until the power fails (as Linux does).
#[derive(Debug, Default)]
pub(crate) struct Model {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next: u64,
    pub(crate) steps: usize,
    pub(crate) fault: Option<(usize, Fault)>,
    pub(crate) crashed: bool,
    /// Content whose sync failed: later syncs say yes and don't write it.
    lost: HashSet<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(pub(crate) Rc<RefCell<Model>>);

impl Model {
    /// Whether the step works, half works, or fails.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(io::Error::other("the power is off"));
        }
        let step = self.steps;
        self.steps += 1;
        match self.fault.filter(|(at, _)| *at == step) {
            None => Ok(None),
            Some((_, Fault::Error)) => Err(io::Error::other("injected")),
            Some((_, Fault::Crash { keep_permille })) => {
                self.crash(keep_permille);
                Err(io::Error::other("the power fails"))
            }
            Some((_, fault)) => Ok(Some(fault)),
        }
    }

    fn after(&mut self, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::CrashAfter { keep_permille }) => self.crash(keep_permille),
            Some(Fault::Half) => {}
            _ => return Ok(()),
        }
        Err(io::Error::other("injected"))
    }

    pub(crate) fn crash(&mut self, keep_permille: usize) {
        self.crashed = true;
        for file in self.files.values_mut() {
            let shared = file.durable.len().min(file.content.len());
            if file.content[..shared] == file.durable[..shared] {
                let extra = (file.content.len() - shared) * keep_permille / 1000;
                file.durable = file.content[..shared + extra].to_vec();
            }
        }
        if keep_permille > 500 {
            self.durable_names = self.names.clone();
        }
    }

    /// The power is back.
    pub(crate) fn restart(&mut self) {
        self.names = self.durable_names.clone();
        for file in self.files.values_mut() {
            file.content = file.durable.clone();
        }
        (self.crashed, self.fault) = (false, None);
        self.lost.clear();
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut model = self.0.borrow_mut();
        model.step()?;
        Ok(model.names.keys().cloned().collect())
    }

    fn read(&mut self, name: &str, _max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut model = self.0.borrow_mut();
        model.step()?;
        Ok(model.names.get(name).map(|id| model.files[id].content.clone()))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        model.next += 1;
        let id = model.next;
        model.files.insert(id, File::default());
        model.names.insert(name.to_owned(), id);
        model.after(fault)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        let id = model.id(name)?;
        let written =
            if matches!(fault, Some(Fault::Half)) { bytes.len() / 2 } else { bytes.len() };
        model.files.get_mut(&id).unwrap().content.extend_from_slice(&bytes[..written]);
        model.after(fault)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let id = model.id(name)?;
        let fault = match model.step() {
            Ok(fault) => fault,
            Err(error) => {
                model.lost.insert(id);
                return Err(error);
            }
        };
        if !model.lost.contains(&id) && !matches!(fault, Some(Fault::Half)) {
            let file = model.files.get_mut(&id).unwrap();
            file.durable = file.content.clone();
        }
        model.after(fault)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        let id = model.id(from)?;
        model.names.remove(from);
        model.names.insert(to.to_owned(), id);
        model.after(fault)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        model.names.remove(name);
        model.after(fault)
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let fault = model.step()?;
        if !matches!(fault, Some(Fault::Half)) {
            model.durable_names = model.names.clone();
        }
        model.after(fault)
    }
}

pub(crate) fn every_fault() -> Vec<Fault> {
    let keep = [0, 300, 700, 1000];
    let crashes = keep.map(|keep_permille| Fault::Crash { keep_permille });
    let after = keep.map(|keep_permille| Fault::CrashAfter { keep_permille });
    [Fault::Error, Fault::Half].into_iter().chain(crashes).chain(after).collect()
}

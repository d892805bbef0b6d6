//! The sequence of segments on a disk in memory that fails and crashes where it is told to.

mod faults;
mod limits;
mod threads;
mod versions;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::disk::Disk;
use super::log::{Log, Origin};
use super::{ArchiveConfig, Identities, Segment};
use crate::engine::model::{
    CaptureSource, Hook, NodeInfo, OwnerEvidence, Packet, ProcessKey, Record, SocketCookie, SocketEvent,
    Timestamp,
};
use crate::engine::pcap::{Item, Reader};

/// What goes wrong, and at which operation that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// This operation fails, later ones work.
    Once(usize, io::ErrorKind),
    /// Half of the data arrives and the operation fails.
    Short(usize),
    /// From this operation on nothing happens any more: the process is dead.
    Dead(usize),
}

#[derive(Debug, Default)]
struct Content {
    files: BTreeMap<String, Vec<u8>>,
    operations: usize,
    fault: Option<Fault>,
    free: Option<u64>,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Debug, Default)]
struct Memory {
    content: Arc<Mutex<Content>>,
    open: Option<String>,
}

impl Memory {
    fn failing(fault: Fault) -> Self {
        let this = Self::default();
        this.content.lock().unwrap().fault = Some(fault);
        this
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.content.lock().unwrap().files.clone()
    }

    fn operations(&self) -> usize {
        self.content.lock().unwrap().operations
    }

    fn heal(&self) {
        self.content.lock().unwrap().fault = None;
    }

    /// Does something to the content, or fails; `short` does half of it.
    fn change(&self, work: impl FnOnce(&mut Content), short: impl FnOnce(&mut Content)) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        let number = content.operations;
        content.operations += 1;
        match content.fault {
            Some(Fault::Once(at, kind)) if at == number => Err(kind.into()),
            Some(Fault::Short(at)) if at == number => {
                short(&mut content);
                Err(io::ErrorKind::StorageFull.into())
            }
            // Half of what was under way may have arrived.
            Some(Fault::Dead(at)) if at == number => {
                short(&mut content);
                Err(io::ErrorKind::Other.into())
            }
            Some(Fault::Dead(at)) if at < number => Err(io::ErrorKind::Other.into()),
            _ => {
                work(&mut content);
                Ok(())
            }
        }
    }
}

impl Disk for Memory {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().into_iter().map(|(name, data)| (name, data.len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.change(|content| drop(content.files.insert(name.to_owned(), Vec::new())), |_| {})?;
        self.open = Some(name.to_owned());
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let name = self.open.clone().unwrap();
        let half = &data[..data.len() / 2];
        self.change(
            |content| content.files.get_mut(&name).unwrap().extend(data),
            |content| content.files.get_mut(&name).unwrap().extend(half),
        )
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(|_| {}, |_| {})
    }

    fn seal(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open = None;
        self.change(
            |content| {
                let data = content.files.remove(from).unwrap();
                content.files.insert(to.to_owned(), data);
            },
            |_| {},
        )
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.change(|content| content.files.get_mut(name).unwrap().truncate(len as usize), |_| {})
    }

    fn read(&mut self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(self.files()[name].clone())))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(|content| drop(content.files.remove(name)), |_| {})
    }

    fn free(&mut self) -> io::Result<(u64, u64)> {
        let content = self.content.lock().unwrap();
        let used: usize = content.files.values().map(Vec::len).sum();
        Ok((content.free.map_or(1 << 40, |free| free.saturating_sub(used as u64)), 1 << 30))
    }
}

struct Known;

impl Identities for Known {
    fn identities(&self, now: Timestamp) -> Vec<Record> {
        vec![Record::Socket(SocketEvent::Owner {
            at: now,
            cookie: SocketCookie(7),
            process: ProcessKey { pid: 1, started: 1 },
            ppid: 0,
            uid: None,
            name: "known".into(),
            cgroup_id: 0,
            netns: 0,
            evidence: OwnerEvidence::FileTable,
        })]
    }
}

fn origin() -> Origin {
    let node = NodeInfo { name: "alpha".into(), ip: [10, 0, 0, 1].into() };
    Origin { node, source: CaptureSource::Ebpf, identities: Box::new(Known) }
}

fn config(max_bytes: u64) -> ArchiveConfig {
    ArchiveConfig {
        path: "/nonexistent".into(),
        max_bytes,
        max_age: None,
        enabled: true,
        takes_secrets: false,
    }
}

fn log(disk: &Memory, max_bytes: u64) -> io::Result<Log> {
    Log::open(Box::new(disk.clone()), origin(), &config(max_bytes))
}

fn second(n: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + n * 1_000_000_000)
}

/// The packet with a number, at the second of that number.
fn packet(number: u64, len: usize) -> Record {
    Record::Packet(Packet {
        at: second(number),
        cookie: SocketCookie(number),
        hook: Hook::Egress,
        ifindex: 1,
        socket: None,
        wire_len: len as u32,
        data: Bytes::from(vec![0x45; len]),
    })
}

/// The numbers of the packets in the sealed segments, oldest first. Every file must be whole, begin with
/// what is known, and hold what its name says.
fn kept(disk: &Memory) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (name, data) in disk.files() {
        let segment = Segment::of(&name, data.len() as u64).unwrap_or_else(|| panic!("{name} is left over"));
        let mut reader = Reader::new();
        reader.feed(&data);
        let (mut heads, mut owners, mut packets) = (0, 0, 0);
        while let Some(item) = reader.next_item().unwrap_or_else(|error| panic!("{name}: {error}")) {
            match item {
                Item::Head(_) => heads += 1,
                Item::Record(Record::Packet(packet)) => {
                    assert!(owners > 0, "{name} begins with a packet");
                    assert!(segment.first <= packet.at && packet.at <= segment.last);
                    packets += 1;
                    numbers.push(packet.cookie.0);
                }
                Item::Record(Record::Socket(_)) => owners += 1,
                Item::Record(_) => {}
            }
        }
        assert_eq!(reader.finish(), Ok(()), "{name}");
        assert_eq!((heads, packets), (1, segment.packets), "{name}");
    }
    numbers
}

//! A restart without a gap: the next process gets the listening sockets of this one.
//!
//! `SO_REUSEPORT` alone would not do: each socket has a queue of its own, and connections that wait in the queue of the old process
//! are reset when it closes its socket. Here no listening socket is ever closed. The new process receives the very sockets
//! (`SCM_RIGHTS`, unix(7)), begins to accept from them, and says so; only then does the old one stop accepting and drain. What
//! waits in a queue is accepted by one of the two.
//!
//! ```text
//! old: listens at `handover` ◄── connects: new
//!      sends names and sockets ──►     (in several messages if there are many)
//!                              ◄── "ready", when it accepts
//!      stops accepting, drains, ends
//! ```

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};

/// The sockets of one listener.
pub struct Sockets {
    /// The name of the listener; none for the one of operators.
    pub name: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Vec<TcpListener>,
}

#[derive(Serialize, Deserialize)]
struct Announced {
    name: Option<String>,
    address: SocketAddr,
    count: usize,
}

/// A process that gave its sockets away, and waits for the word.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the process that listens at `path` for its sockets. None if nobody does.
    ///
    /// # Errors
    ///
    /// If somebody does, and something goes wrong.
    pub fn ask(path: &Path) -> io::Result<Option<(Self, Vec<Sockets>)>> {
        let mut stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        is_same_user(&stream)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut fds = receive_sockets(&stream)?;
        let announced: Vec<Announced> = serde_json::from_slice(&receive_text(&mut stream)?)?;
        let count = announced.iter().fold(0_usize, |sum, one| sum.saturating_add(one.count));
        while fds.len() < count {
            let more = receive_sockets(&stream)?;
            if more.is_empty() {
                return Err(io::Error::other("fewer sockets than announced"));
            }
            fds.extend(more);
        }
        let mut all = Vec::new();
        fds.reverse();
        for Announced { name, address, count } in announced {
            let mut sockets = Vec::new();
            for _ in 0..count {
                let fd = fds.pop().ok_or_else(|| io::Error::other("fewer sockets than announced"))?;
                sockets.push(TcpListener::from(fd));
            }
            all.push(Sockets { name, address, sockets });
        }
        Ok(Some((Self(stream), all)))
    }

    /// Says that the sockets are served: the other process drains.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn ready(mut self) -> io::Result<()> {
        self.0.write_all(READY)
    }
}

/// Where the next process asks.
pub struct Heir {
    socket: UnixListener,
}

impl Heir {
    /// Listens at `path`. Whoever listened there before has handed over.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn listen(path: &Path) -> io::Result<Self> {
        // A new name is given to the socket when it is ready, so that there is always one to connect to.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = Path::new(&new);
        let _ = fs::remove_file(new);
        let socket = UnixListener::bind(new)?;
        fs::set_permissions(new, fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        fs::rename(new, path)?;
        Ok(Self { socket })
    }

    /// Waits until a process has the sockets and serves them, or `is_over`. Says whether one has. One that asks and fails
    /// changes nothing.
    pub fn wait(&self, sockets: &[Sockets], is_over: impl Fn() -> bool) -> bool {
        while !is_over() {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    if give(stream, sockets).is_ok() {
                        return true;
                    }
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        false
    }
}

fn give(mut stream: UnixStream, sockets: &[Sockets]) -> io::Result<()> {
    is_same_user(&stream)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let announced: Vec<Announced> = sockets
        .iter()
        .map(|one| Announced { name: one.name.clone(), address: one.address, count: one.sockets.len() })
        .collect();
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().flat_map(|one| &one.sockets).map(AsFd::as_fd).collect();
    let (first, more) = fds.split_at(fds.len().min(MOST_SOCKETS));
    send_sockets(&stream, first)?;
    let text = serde_json::to_vec(&announced)?;
    stream.write_all(&u32::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes())?;
    stream.write_all(&text)?;
    for some in more.chunks(MOST_SOCKETS) {
        send_sockets(&stream, some)?;
    }
    let mut word = [0; READY.len()];
    stream.read_exact(&mut word)?;
    if word == *READY { Ok(()) } else { Err(io::Error::other("not the word that was expected")) }
}

/// Sockets go with a byte. With the first ones comes what they are: the length of a text, and the text; after that come those for
/// which there was no room in the first message.
fn send_sockets(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("the sockets do not fit in one message"));
    }
    sendmsg(stream, &[IoSlice::new(&[MARK])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_sockets(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut mark = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut mark)], &mut ancillary, flags)?;
    if received.bytes != 1 || mark != [MARK] {
        return Err(io::Error::other("not a message that was expected"));
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(fds)
}

fn receive_text(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST_TEXT {
        return Err(io::Error::other("a longer message than was expected"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(text)
}

/// Sockets are given to, and taken from, processes of the same user only.
fn is_same_user(stream: &UnixStream) -> io::Result<()> {
    let other = sockopt::socket_peercred(stream)?;
    if other.uid == rustix::process::geteuid() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the process at the other end belongs to another user",
    ))
}

const MARK: u8 = 1;
const READY: &[u8; 5] = b"ready";
/// What Linux takes in one message: `SCM_MAX_FD`.
const MOST_SOCKETS: usize = 253;
const MOST_TEXT: usize = 1 << 20;
/// The new process reads its configuration and starts in this time, or the old one goes on.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often somebody is looked for.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn sockets_go_over_with_what_waits_in_them() {
        let folder = std::env::temp_dir().join(format!("evenkeel-handover-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        assert!(Predecessor::ask(&path).unwrap().is_none(), "nobody is there");
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        let heir = Heir::listen(&path).unwrap();
        let old = std::thread::spawn(move || {
            let sockets = [Sockets { name: Some("web".into()), address, sockets: vec![socket] }];
            assert!(heir.wait(&sockets, || false));
        });
        // One that fails is no heir.
        drop(Predecessor::ask(&path).unwrap().unwrap());
        let (old_one, sockets) = Predecessor::ask(&path).unwrap().unwrap();
        assert_eq!(sockets[0].name.as_deref(), Some("web"));
        old_one.ready().unwrap();
        old.join().unwrap();
        let (_, peer) = sockets[0].sockets[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }

    /// More than one message takes: a listener for each of 64 cores, and some of them.
    #[test]
    fn many_sockets_go_over_too() {
        let folder = std::env::temp_dir().join(format!("evenkeel-handover-many-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let counts = [200, 253, 1, 66];
        let listeners = counts.iter().enumerate().map(|(i, count)| {
            let sockets: Vec<_> = (0..*count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            let address = sockets[0].local_addr().unwrap();
            Sockets { name: Some(i.to_string()), address, sockets }
        });
        let listeners: Vec<_> = listeners.collect();
        let addresses = |of: &[Sockets]| -> Vec<Vec<SocketAddr>> {
            let each =
                |one: &Sockets| one.sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
            of.iter().map(each).collect()
        };
        let expected = addresses(&listeners);
        let heir = Heir::listen(&path).unwrap();
        let old = std::thread::spawn(move || assert!(heir.wait(&listeners, || false)));
        let (old_one, sockets) = Predecessor::ask(&path).unwrap().unwrap();
        assert_eq!(addresses(&sockets), expected);
        old_one.ready().unwrap();
        old.join().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

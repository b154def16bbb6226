use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hello::{Hello, HelloReader};
use super::proxy_header;
use super::tools::Tools;

/// What came before it was known where the connection goes.
#[derive(Debug, Default)]
pub(crate) struct Prelude {
    /// To be sent on first.
    pub(crate) bytes: Vec<u8>,
    /// Of the PROXY header.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    pub(crate) hello: Hello,
}

/// Why a connection is closed before it was known where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Header,
    Hello,
}

/// What is to be read first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) header: bool,
    pub(crate) hello: bool,
    /// Bytes at most.
    pub(crate) limit: usize,
    /// For all of it.
    pub(crate) within: Duration,
}

/// Reads what is wanted, within its limits.
pub(crate) async fn read(client: &TcpStream, wanted: Wanted, tools: &Tools) -> Result<Prelude, Refused> {
    let mut prelude = Prelude::default();
    let mut waits_for = if wanted.header { Refused::Header } else { Refused::Hello };
    let reading =
        timeout(wanted.within, read_parts(client, wanted, tools, &mut prelude, &mut waits_for)).await;
    match reading {
        Ok(Ok(())) => Ok(prelude),
        // Whatever it was (garbage, too long, too late, gone), it was missing.
        Ok(Err(_)) | Err(_) => Err(waits_for),
    }
}

async fn read_parts(
    client: &TcpStream,
    wanted: Wanted,
    tools: &Tools,
    prelude: &mut Prelude,
    waits_for: &mut Refused,
) -> io::Result<()> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    if wanted.header {
        let proxied = loop {
            match proxy_header::read(&prelude.bytes).map_err(|_| wrong())? {
                Some(proxied) => break proxied,
                None => more(client, wanted.limit, tools, &mut prelude.bytes).await?,
            }
        };
        prelude.addresses = proxied.addresses;
        prelude.bytes.drain(..proxied.length);
    }
    *waits_for = Refused::Hello;
    if wanted.hello {
        let mut reader = HelloReader::new();
        prelude.hello = loop {
            match reader.read(&prelude.bytes).map_err(|_| wrong())? {
                Some(hello) => break hello,
                None => more(client, wanted.limit, tools, &mut prelude.bytes).await?,
            }
        };
    }
    Ok(())
}

/// Waits for more.
async fn more(client: &TcpStream, limit: usize, tools: &Tools, bytes: &mut Vec<u8>) -> io::Result<()> {
    loop {
        if bytes.len() >= limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        client.readable().await?;
        let mut buffer = tools.buffer.borrow_mut();
        let room = buffer.len().min(limit - bytes.len());
        match client.try_read(&mut buffer[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes.extend(&buffer[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

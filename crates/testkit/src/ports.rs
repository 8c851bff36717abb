//! Port numbers that stay reserved between being chosen and being bound.
//!
//! Numbers come from below the kernel's ephemeral range, so no outgoing connection can take one,
//! and each is held by a lock file, so two tests that start at once cannot pick the same.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

use crate::keys::random_bytes;

const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A reserved port; the reservation ends when this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn reserve() -> Result<Self> {
        let locks = lock_dir()?;
        for _ in 0..2_000 {
            let number = FIRST + u16::from_be_bytes(random_bytes::<2>()?) % COUNT;
            let path = locks.join(number.to_string());
            let Ok(lock) = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
            else {
                continue;
            };
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A port that was free a moment ago. Prefer [`Port::reserve`] where the owner can keep the guard.
pub fn free_port() -> Result<u16> {
    Ok(Port::reserve()?.number())
}

/// One directory per user: a lock file made by another user could not be opened for writing.
pub(crate) fn lock_dir() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("fiatrails-locks-{}", nix::unistd::geteuid()));
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_handed_out_twice() {
        let ports: Vec<Port> = (0..200).map(|_| Port::reserve().unwrap()).collect();
        let distinct: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(distinct.len(), ports.len());
    }
}

//! `<service> --check-ready`: asks the service that runs on this machine whether it is ready. Container health checks use
//! it, so that images need no HTTP client.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::settings::{CHECK_READY, Environment};

/// Time limit of the connection, and of each read and write.
const TIMEOUT: Duration = Duration::from_secs(2);

/// If the first argument is `--check-ready`, ends the process with 0 (ready) or 1 (not ready); otherwise returns.
pub fn exit_if_readiness_check(environment: &Environment) {
    if std::env::args_os().nth(1).is_some_and(|argument| {
        argument.to_str().and_then(|text| text.strip_prefix("--")) == Some(CHECK_READY)
    }) {
        answer(environment);
    }
}

/// Whom to ask: the process that runs with the same settings.
#[derive(clap::Args)]
struct Asked {
    #[arg(id = "admin", long = "admin-addr", env = "ADMIN_ADDR", value_name = "IP:PORT")]
    admin: SocketAddr,
}

/// Ends the process with 0 (ready) or 1 (not).
pub fn answer(environment: &Environment) -> ! {
    let asked = match environment.read::<Asked>() {
        Ok(Asked { admin }) => is_ready(reachable_address(admin), TIMEOUT).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let problem = match asked {
        Ok(true) => std::process::exit(0),
        Ok(false) => "not ready".to_owned(),
        Err(problem) => problem,
    };
    // No log subscriber is installed yet; the caller of the check sees what is printed.
    let _ = writeln!(io::stderr(), "{problem}");
    std::process::exit(1)
}

/// A service that listens on all addresses is reached through the loopback address.
fn reachable_address(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn is_ready(addr: SocketAddr, timeout: Duration) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&addr, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )?;
    // "HTTP/1.1 200": the rest of the status line does not matter.
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// Serves one connection with `answer`; the request it got.
    fn serve(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (addr, served)
    }

    #[test]
    fn only_200_is_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n200", false),
            ("SSH-2.00 200", false),
        ] {
            let (addr, served) = serve(answer);
            assert_eq!(is_ready(addr, SOON).unwrap(), ready, "{answer}");
            assert!(served.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        }
    }

    #[test]
    fn no_answer_and_no_server_are_failures() {
        let (addr, served) = serve("");
        assert!(is_ready(addr, SOON).is_err(), "closed without an answer");
        served.join().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap();
        assert!(
            is_ready(addr, Duration::from_millis(20)).is_err(),
            "accepted, never answered"
        );
        drop(silent);
        assert!(is_ready(addr, SOON).is_err(), "nobody listens");
    }

    #[test]
    fn an_unspecified_address_is_reached_through_the_loopback() {
        let asked = |text: &str| reachable_address(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(asked("[::]:9090"), "[::1]:9090");
        assert_eq!(asked("10.1.2.3:9090"), "10.1.2.3:9090");
    }
}

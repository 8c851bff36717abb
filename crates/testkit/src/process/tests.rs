use super::*;

fn sleeper(dir: &Path) -> Launch {
    Launch::new("sleeper", "sleep", dir.join("log")).arg("600")
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_tied_child_ends_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let process = sleeper(dir.path()).spawn(Lifetime::Tied).unwrap();
    let pid = process.pid();
    assert!(alive(pid));
    drop(process);
    assert!(!alive(pid));
}

#[test]
fn an_early_end_is_reported_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let launch =
        Launch::new("failing", "sh", dir.path().join("log")).args(["-c", "echo no such luck; exit 3"]);
    let mut process = launch.spawn(Lifetime::Tied).unwrap();
    process.wait(Duration::from_secs(5)).unwrap();
    let text = format!("{:#}", process.must_be_running().unwrap_err());
    assert!(
        text.contains("exit code 3") && text.contains("no such luck"),
        "{text}"
    );
}

#[test]
fn a_tied_child_ends_when_its_owner_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    // The owner is a copy of this test binary, running only `owner_of_a_sleeper`.
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::tests::owner_of_a_sleeper", "--nocapture"])
        .env("TESTKIT_SLEEPER_PID_FILE", &pid_file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let pid: u32 = loop {
        if let Some(pid) = std::fs::read_to_string(&pid_file)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            break pid;
        }
        assert!(Instant::now() < end, "the owner wrote no pid");
        std::thread::sleep(Duration::from_millis(10));
    };
    // Before that it is `setpriv`, which may not have asked for the signal yet.
    while !std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep") {
        assert!(Instant::now() < end, "the child is not what was to be started");
        std::thread::sleep(Duration::from_millis(10));
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    while alive(pid) {
        assert!(Instant::now() < end, "the child outlived its killed owner");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Not a test by itself: does nothing unless started by the test above.
#[test]
fn owner_of_a_sleeper() {
    let Some(pid_file) = std::env::var_os("TESTKIT_SLEEPER_PID_FILE") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let process = sleeper(dir.path()).spawn(Lifetime::Tied).unwrap();
    let unfinished = dir.path().join("pid");
    std::fs::write(&unfinished, process.pid().to_string()).unwrap();
    std::fs::rename(unfinished, pid_file).unwrap();
    std::thread::sleep(Duration::from_mins(10));
}

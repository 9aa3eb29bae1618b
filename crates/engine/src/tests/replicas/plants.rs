//! Faults by which replicas come apart, which the seeds have to find.

#[cfg(plant)]
const NAME: &str = "CROSSDOCK_PLANT";

/// Plants the fault that the environment names, in a build that has faults.
pub(super) fn plant_from_environment() {
    #[cfg(plant)]
    if let Ok(name) = std::env::var(NAME) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| assert!(io::plant(&name), "there is a fault {name}"));
    }
}

/// Each fault makes the seeds fail, run alone in a process that has it.
#[cfg(plant)]
#[test]
fn every_planted_fault_is_found() {
    const TEST: &str = "tests::replicas::replicas_lose_nothing_and_agree_whatever_happens";
    for (fault, _) in io::SHARD_FAULTS {
        let mut run = std::process::Command::new(std::env::current_exe().unwrap());
        let run = run.args(["--exact", TEST]).env(NAME, fault).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(said.contains("running 1 test"), "{TEST} is a test");
        assert!(!run.status.success(), "{TEST} does not find {fault}");
    }
}

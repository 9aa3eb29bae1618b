use super::World;
use crate::lines::Lines;
use crate::transcript::tests::Plain;
use std::sync::Arc;

/// Plays a script and compares.
fn check(script: &str) {
    let happened = World::new(Arc::new(Lines), 1, 7).play(&mut Plain, script);
    assert_eq!(happened, script);
}

#[test]
fn what_one_client_publishes_another_gets() {
    check(
        "\
a> queue q
a< declared
b> take q
a> publish q hello
a< appended 0 Appended
b< message hello
b leaves
c> take q
c< message hello again
",
    );
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_and_a_kill() {
    check(
        "\
a> queue q
a< declared
a> publish q one
a< appended 0 Appended
@ power cut
a> publish q two
a< appended 1 Appended
@ kill
# redelivered: nobody knows any more whether they were handed out
b> take q
b< message one again
b< message two again
",
    );
}

#[test]
fn a_pipelined_publish_sees_the_queue_declared_before_it() {
    let mut world = World::new(Arc::new(Lines), 1, 7);
    world.send("a", b"queue q\npublish q x\n");
    let received = world.settle();
    assert_eq!(received, [("a".into(), b"declared\nappended 0 Appended\n".to_vec())]);
}

#[test]
fn timers_and_draining_run_in_a_world_too() {
    check(
        "\
a> wake 10
+9
+1
a< tick
@ shut
a closed
",
    );
}

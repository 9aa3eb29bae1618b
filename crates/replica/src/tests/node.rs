//! A node: a journal and the thread that takes its turns.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use ::io::sim::SimDisk;

use super::store::Store;
use crate::Journal;

#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    is_rung: bool,
    is_over: bool,
}

impl Bell {
    fn ring(&self) {
        self.state.lock().unwrap().is_rung = true;
        self.changed.notify_one();
    }

    /// Waits until it rings; false when it is over.
    fn wait(&self) -> bool {
        let waits = |rung: &mut Rung| !rung.is_rung && !rung.is_over;
        let mut rung = self.changed.wait_while(self.state.lock().unwrap(), waits).unwrap();
        rung.is_rung = false;
        !rung.is_over
    }
}

pub(crate) struct Node {
    pub(crate) journal: Journal,
    store: Store,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Opens the store on `disk`; `before_turn` is called before each of its turns.
    pub(crate) fn start(
        disk: &SimDisk,
        salt: u64,
        mut before_turn: impl FnMut(&Journal) + Send + 'static,
    ) -> Node {
        let bell = Arc::new(Bell::default());
        let rings = bell.clone();
        let store = Store::open(disk, salt, move || rings.ring()).unwrap();
        let (turns, waits) = (store.clone(), bell.clone());
        let thread = std::thread::spawn(move || {
            while waits.wait() {
                before_turn(&turns.journal);
                // What has come so far is in this turn.
                waits.state.lock().unwrap().is_rung = false;
                turns.turn().unwrap();
            }
        });
        let journal = store.journal.clone();
        Node { journal, store, bell, thread: Some(thread) }
    }

    /// Takes its last turn and ends.
    pub(crate) fn stop(&mut self) {
        self.bell.state.lock().unwrap().is_over = true;
        self.bell.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
            self.store.turn().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

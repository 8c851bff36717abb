//! Decides when each fault is injected: a pure function of seed, faults and customers. Faults are placed between
//! customers, not at times, so a slow machine breaks the product at the same places as a fast one.

use super::fault::Fault;

#[derive(Debug, Clone, Copy)]
pub struct PlannedFault {
    /// Injected once this many customers have arrived.
    pub after: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone)]
pub struct Schedule {
    pub faults: Vec<PlannedFault>,
    customers: usize,
}

impl Schedule {
    /// Divides the customers into equal stretches and places one fault in the first half of each.
    pub fn spread(random: &mut fastrand::Rng, faults: Vec<Fault>, customers: usize) -> Self {
        let stretches = faults.len().max(1);
        let faults = faults
            .into_iter()
            .enumerate()
            .map(|(index, fault)| {
                let begin = index * customers / stretches;
                let half = (customers / stretches / 2).max(1);
                let after = begin + random.usize(0..half);
                PlannedFault { after, fault }
            })
            .collect();
        Self { faults, customers }
    }

    /// How many customers may have arrived once this many faults are done. The rest wait, so that every fault happens
    /// under load.
    pub fn admitted_after(&self, done: usize) -> usize {
        if done >= self.faults.len() {
            return self.customers;
        }
        (done + 1) * self.customers / self.faults.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        let faults = (1..=5).map(Fault::Reorg).collect();
        Schedule::spread(&mut fastrand::Rng::with_seed(seed), faults, 100)
    }

    fn places(seed: u64) -> Vec<usize> {
        schedule(seed)
            .faults
            .iter()
            .map(|planned| planned.after)
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        assert_eq!(places(7), places(7));
        assert_ne!(places(7), places(8));
    }

    #[test]
    fn every_fault_happens_under_load_and_every_customer_arrives() {
        let schedule = schedule(7);
        for (done, planned) in schedule.faults.iter().enumerate() {
            assert!(
                planned.after < schedule.admitted_after(done),
                "the fault is due before the customers run out"
            );
        }
        assert_eq!(schedule.admitted_after(5), 100);
        let none = Schedule::spread(&mut fastrand::Rng::with_seed(1), Vec::new(), 10);
        assert_eq!(none.admitted_after(0), 10);
    }
}

//! When what is done: a pure function of seed, faults and customers. Faults stand between customers, not at times, so a
//! slow machine breaks the product at the same places as a fast one.

use super::fault::Fault;

#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Done when so many customers have come.
    pub after: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone)]
pub struct Schedule {
    pub faults: Vec<Planned>,
    customers: usize,
}

impl Schedule {
    /// One fault in each of as many equal stretches, somewhere in the first half of it.
    pub fn spread(random: &mut fastrand::Rng, faults: Vec<Fault>, customers: usize) -> Self {
        let stretches = faults.len().max(1);
        let faults = faults
            .into_iter()
            .enumerate()
            .map(|(index, fault)| {
                let begin = index * customers / stretches;
                let half = (customers / stretches / 2).max(1);
                let after = begin + random.usize(0..half);
                Planned { after, fault }
            })
            .collect();
        Self { faults, customers }
    }

    /// How many customers may have come when so many faults are done: the rest wait, so that no fault meets an empty shop.
    pub fn admits(&self, done: usize) -> usize {
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
    fn every_fault_meets_customers_and_every_customer_comes() {
        let schedule = schedule(7);
        for (done, planned) in schedule.faults.iter().enumerate() {
            assert!(
                planned.after < schedule.admits(done),
                "its moment comes before the shop is closed"
            );
        }
        assert_eq!(schedule.admits(5), 100);
        let none = Schedule::spread(&mut fastrand::Rng::with_seed(1), Vec::new(), 10);
        assert_eq!(none.admits(0), 10);
    }
}

//! The messaging room against a real broker. Needs the shared test servers (`make test` starts them).

#[cfg(test)]
mod breakage;
#[cfg(test)]
mod consuming;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod topology;

//! Parts of statements that say what is settled. Tests prove them equal to the rules of `domain`.

/// `ChainLeg::is_settled`: a name of a leg is one of these.
pub(crate) const SETTLED_LEGS: &str = "('executed', 'refunded', 'rejected', 'dropped')";
/// `ChainLeg::is_terminal`, by the leg's name in its history.
pub(crate) const TERMINAL_LEGS: &str = "('executed_final', 'refunded_final', 'rejected', 'dropped')";
/// `WorkItemState::is_open`.
pub(crate) const OPEN_ITEMS: &str = "('ready', 'in_attempt')";

/// `ChainLeg::is_terminal` of two columns.
macro_rules! terminal {
    ($leg:literal, $is_final:literal) => {
        concat!(
            "(",
            $leg,
            " in ('rejected', 'dropped') or (",
            $leg,
            " in ('executed', 'refunded') and ",
            $is_final,
            "))"
        )
    };
}

pub(crate) use terminal;

#[cfg(test)]
mod tests {
    use domain::command::WorkItemState;
    use domain::intent::ChainLeg;

    use super::*;

    fn list(mut names: Vec<String>) -> String {
        names.dedup();
        let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("({})", names.join(", "))
    }

    fn legs(is_listed: fn(ChainLeg) -> bool, name: fn(ChainLeg) -> String) -> String {
        list(
            ChainLeg::ALL
                .into_iter()
                .filter(|leg| is_listed(*leg))
                .map(name)
                .collect(),
        )
    }

    #[test]
    fn the_lists_hold_what_the_rules_say() {
        assert_eq!(legs(ChainLeg::is_settled, |leg| leg.to_string()), SETTLED_LEGS);
        assert_eq!(
            legs(ChainLeg::is_terminal, |leg| leg.history_name().to_owned()),
            TERMINAL_LEGS
        );
        let open = WorkItemState::ALL.into_iter().filter(|state| state.is_open());
        assert_eq!(
            list(open.map(|state| state.name().to_owned()).collect()),
            OPEN_ITEMS
        );
        let always = legs(|leg| leg.is_terminal() && !leg.is_final(), |leg| leg.to_string());
        let if_final = legs(ChainLeg::is_final, |leg| leg.to_string());
        assert_eq!(
            terminal!("leg", "final"),
            format!("(leg in {always} or (leg in {if_final} and final))")
        );
    }
}

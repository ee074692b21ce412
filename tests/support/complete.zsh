# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# What an interactive zsh offers behind each line of its input, and --- after each.
# Usage: zsh -f complete.zsh DIRECTORY <LINES; the directory has the completions
setopt extended_glob
zmodload zsh/zpty
zpty shell zsh -f -i
{
    # What is put into the list of matches is shown; what is only asked into an array is not.
    zpty -w shell "PS1=:ready: PS2= fpath=(${(q)1} \$fpath)
    autoload -Uz compinit && compinit -D -u
    compadd() {
        local -a found
        if (( \${argv[(I)-[OAD]]} )); then
            builtin compadd \"\$@\"
            return
        fi
        builtin compadd -A found \"\$@\"
        (( \$#found )) && print -rl -- '<'\$^found'>'
        builtin compadd \"\$@\"
    }
    zle -C offer complete-word _main_complete
    bindkey '^I' offer
    stty -echo
    print -r -- answ''ered"
    # Not before the prompt is there: until then ^U would be the terminal's.
    zpty -r -m shell text '*answered*:ready:*' || exit 1
    while IFS= read -r line; do
        # Tab, then ^U: the line is not run.
        zpty -w -n shell "$line"$'\t'$'\x15'"print -r -- answ''ered"$'\n'
        zpty -r -m shell text '*answered*:ready:*' || exit 1
        while [[ $text == (#b)[^\<]#'<'([^\>]#)'>'(*) ]]; do
            print -r -- $match[1]
            text=$match[2]
        done
        print -r -- ---
    done
} always {
    zpty -d shell
}

# Completion of kedge in bash: commands, options and keys of run files, asked from the command's own help.
_kedge() {
    local kedge=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words help
    local typed=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    local rows='/^more:$/ { exit } /^  [a-z]/ { print $1 }'
    if [ "$before" = --set ]; then
        words=$("$kedge" help run-file 2>/dev/null | awk '/^keys:$/ { on = 1 } on && /^  [a-z]/ { print $1 "=" }')
        compopt -o nospace
    elif [ ${#typed[@]} -eq 0 ]; then
        words="help --help --version $("$kedge" --help 2>/dev/null | awk "$rows")"
    elif [ "${typed[*]}" = help ]; then
        words="run-file --json $("$kedge" --help 2>/dev/null | awk "$rows")"
    else
        [ "${typed[0]}" = help ] && typed=("${typed[@]:1}")
        help=$("$kedge" help "${typed[0]}" 2>/dev/null)
        if grep -q '^what:$' <<<"$help"; then
            if [ ${#typed[@]} -eq 1 ]; then words=$(awk "/^what:\$/ { on = 1 } !on { next } $rows" <<<"$help")
            else help=$("$kedge" help "${typed[@]:0:2}" 2>/dev/null); fi
        fi
        case $word in -*) words=$(awk '/^  -/ { sub(/,/, "", $1); print $1 } /^  -h, / { print $2 }' <<<"$help") ;; esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _kedge kedge

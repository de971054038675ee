# Completion of kedge in bash: commands, options and keys of run files, asked from the command's own help.
_kedge() {
    local kedge=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words
    local command=${COMP_WORDS[1]}
    if [ "$before" = --set ]; then
        words=$("$kedge" help run-file 2>/dev/null | awk '/^keys:$/ { on = 1 } on && /^  [a-z]/ { print $1 "=" }')
        compopt -o nospace
    elif [ "$COMP_CWORD" -eq 1 ] || [ "$before" = help ]; then
        words="help --help --version $("$kedge" --help 2>/dev/null | awk '/^more:$/ { exit } /^  [a-z]/ { print $1 }')"
    elif [ "$COMP_CWORD" -eq 2 ] && [[ $command = @(bench|eval) ]]; then
        words=$("$kedge" help "$command" 2>/dev/null | awk '/^more:$/ { exit } /^  [a-z]/ { print $1 }')
    else
        [[ $command = @(bench|eval) ]] && command="$command ${COMP_WORDS[2]}"
        case $word in -*) words=$("$kedge" help $command 2>/dev/null | awk '/^  --/ { print $1 } /^  -h, / { print $2 }') ;; esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _kedge kedge

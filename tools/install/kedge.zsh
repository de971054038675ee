#compdef kedge
# Completion of kedge in zsh: commands, options and keys of run files, with what each is, asked from the command's own help.
_kedge() {
    local kedge=$words[1] text
    local -a typed rows
    # Rows of a section of the help, "  left  right", as "name:right"; a colon in either is escaped.
    local section='{ gsub(/:/, "\\:") } /^(more|exit codes)\\:$/ { exit } /^  [a-z]/ { name = $1; $1 = ""; print name ":" substr($0, 2) }'
    typed=(${words[2,CURRENT-1]})
    if [[ $words[CURRENT-1] == --set ]]; then
        rows=(${(f)"$($kedge help run-file 2>/dev/null | awk '/^keys:$/ { on = 1; next } on '"$section")"})
        _describe key rows -S = -q
        return
    fi
    if [[ -z $typed || $typed == help ]]; then
        rows=(${(f)"$($kedge --help 2>/dev/null | awk "$section")"})
        if [[ -z $typed ]]; then rows+=('help:options and examples of a command' '--version:what this build contains')
        else rows+=('run-file:what a run file says' '--json:all of it for programs'); fi
        _describe command rows
        return
    fi
    [[ $typed[1] == help ]] && shift typed
    text=$($kedge help $typed[1] 2>/dev/null)
    if [[ $text == *$'\nwhat:\n'* ]]; then
        if (( $#typed == 1 )); then
            rows=(${(f)"$(awk '/^what:$/ { on = 1; next } on '"$section" <<<$text)"})
            _describe what rows
            return
        fi
        text=$($kedge help $typed[1,2] 2>/dev/null)
    fi
    if [[ $PREFIX == -* ]]; then
        rows=(${(f)"$(awk '{ gsub(/:/, "\\:") } /^  -/ { name = $1; sub(/,$/, "", name); sub(/^  -[^ ]*( [^ ]+)? */, ""); print name ":" $0 }' <<<$text)"})
        _describe -o option rows
    else
        _files
    fi
}
_kedge "$@"

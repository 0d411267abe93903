# Completion of netspec for bash 4.4 and newer; an older one completes files alone. netspec answers with a kind in the
# first line (what else completes the word: "files", "dirs" or nothing; "nospace"), then a word and what it is a line.
_netspec_completion() {
    local answer kind word about action=-f
    COMPREPLY=()
    ((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] > 3))) || return 0
    answer=$(env _NETSPEC_COMPLETE=bash_complete _NETSPEC_LINE="${COMP_LINE:0:COMP_POINT}" \
        _NETSPEC_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null) || return 0
    {
        read -r kind
        while IFS=$'\t' read -r word about; do
            COMPREPLY+=("$word")
        done
    } <<<"$answer"
    [[ $kind == *nospace* ]] && compopt -o nospace
    # files without words beside them are left to readline, with tildes, variables and quotes as ever
    [[ $kind == *files* && ${#COMPREPLY[@]} -eq 0 ]] && return 0
    compopt +o default +o bashdefault
    if [[ $kind == *files* || $kind == *dirs* ]]; then
        compopt -o filenames
        [[ $kind == *dirs* ]] && action=-d
        while IFS= read -r word; do
            COMPREPLY+=("$word")
        done < <(compgen "$action" -- "$2")
    fi
}

complete -o nosort -o bashdefault -o default -F _netspec_completion netspec 2>/dev/null ||
    complete -o bashdefault -o default -F _netspec_completion netspec

# Completion of netspec for fish. netspec answers with a kind (what else completes the word: "files", "dirs" or
# nothing) in the first line, then a word and what it is a line.
function __netspec_completion
    set -l words (commandline -opc)
    set -l answer (env _NETSPEC_COMPLETE=fish_complete _NETSPEC_LINE=(commandline -cp | string collect) $words[1] 2>/dev/null)
    set -l kind $answer[1]
    test (count $answer) -gt 1; and printf '%s\n' $answer[2..]
    if string match -q '*files*' -- "$kind"
        __fish_complete_path (commandline -ct)
    else if string match -q '*dirs*' -- "$kind"
        __fish_complete_directories (commandline -ct) ''
    end
end

complete --command netspec --no-files --keep-order --arguments '(__netspec_completion)'

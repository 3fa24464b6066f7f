// Parses Groovy files and says what is wrong with them: `java -cp groovy.jar ParseGroovy.java FILE…`. Nothing is run.
import java.io.File;
import org.codehaus.groovy.control.CompilationUnit;
import org.codehaus.groovy.control.Phases;

public final class ParseGroovy {
    public static void main(String[] files) {
        CompilationUnit unit = new CompilationUnit();
        for (String file : files) {
            unit.addSource(new File(file));
        }
        try {
            unit.compile(Phases.CONVERSION);
        } catch (Exception fault) {
            System.err.println(fault.getMessage());
            System.exit(1);
        }
    }
}
